/* A QEMU plugin that counts guest instructions by function, between two marks.

   Arguments: table=FILE lists the functions, a line each in rising order: "START END", hexadecimal; begin=ADDRESS and
   end=ADDRESS are the marks, hexadecimal; report=FILE is written when the guest ends. From when begin runs to when end
   runs is one measured run. What runs in no function of the table is not counted.

   The report's first line: runs, instructions of the first, of the shortest and of the longest run. Then a line for each
   function of the table: its instructions in the first run.

   QEMU translates straight-line blocks of instructions, and a block runs whole, so counting blocks is exact. Debian ships
   no header of the interface; what is used of it is declared here. These functions are the same since QEMU 4.2. */

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned, void *),
                                          enum qemu_plugin_cb_flags, void *);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);

__attribute__((visibility("default"))) int qemu_plugin_version = PLUGIN_VERSION;

typedef struct {
    uint64_t start, end;
    uint64_t now, first; /* instructions in the run under way, and in the first run */
} function;

/* Consecutive instructions of one block that belong to one function. */
typedef struct {
    function *of;
    uint64_t instructions;
} stretch;

static function *functions;
static size_t function_count;
static uint64_t begin_address, end_address;
static char *report_name;
static int counting;
static uint64_t runs, total, first_total, least, most;

static function *function_at(uint64_t address)
{
    size_t low = 0, high = function_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (address < functions[middle].start)
            high = middle;
        else if (address >= functions[middle].end)
            low = middle + 1;
        else
            return &functions[middle];
    }
    return NULL;
}

static void begin(unsigned cpu, void *unused)
{
    (void)cpu, (void)unused;
    counting = 1;
    total = 0;
}

static void end(unsigned cpu, void *unused)
{
    (void)cpu, (void)unused;
    if (!counting)
        return;
    counting = 0;
    if (runs++ == 0) {
        first_total = least = most = total;
        for (size_t i = 0; i < function_count; i++)
            functions[i].first = functions[i].now;
    }
    least = total < least ? total : least;
    most = total > most ? total : most;
}

static void count(unsigned cpu, void *data)
{
    const stretch *part = data;
    (void)cpu;
    if (counting) {
        part->of->now += part->instructions;
        total += part->instructions;
    }
}

/* QEMU may hold on to a callback's data for as long as it runs, so that is never freed. */
static void register_stretch(struct qemu_plugin_tb *block, function *of, uint64_t instructions)
{
    stretch *part = malloc(sizeof *part);
    if (!part)
        abort();
    *part = (stretch){of, instructions};
    qemu_plugin_register_vcpu_tb_exec_cb(block, count, QEMU_PLUGIN_CB_NO_REGS, part);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    size_t instructions = qemu_plugin_tb_n_insns(block);
    uint64_t start = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(block, 0));
    size_t since = 0;
    (void)id;
    if (start == begin_address || start == end_address) {
        qemu_plugin_register_vcpu_tb_exec_cb(block, start == begin_address ? begin : end, QEMU_PLUGIN_CB_NO_REGS, NULL);
        return;
    }
    for (size_t i = 1; i <= instructions; i++) {
        function *of = function_at(qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(block, since)));
        if (i == instructions || function_at(qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(block, i))) != of) {
            if (of)
                register_stretch(block, of, i - since);
            since = i;
        }
    }
}

static void report(qemu_plugin_id_t id, void *unused)
{
    FILE *file = fopen(report_name, "w");
    (void)id, (void)unused;
    if (!file)
        return;
    fprintf(file, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", runs, first_total, least, most);
    for (size_t i = 0; i < function_count; i++)
        fprintf(file, "%" PRIu64 "\n", functions[i].first);
    fclose(file);
}

static int read_table(const char *name)
{
    FILE *file = fopen(name, "r");
    function row = {0};
    if (!file)
        return -1;
    while (fscanf(file, "%" SCNx64 " %" SCNx64, &row.start, &row.end) == 2) {
        function *longer = realloc(functions, (function_count + 1) * sizeof *functions);
        if (!longer)
            abort();
        functions = longer;
        functions[function_count++] = row;
    }
    fclose(file);
    return function_count ? 0 : -1;
}

static const char *value_of(int argc, char **argv, const char *key)
{
    size_t length = strlen(key);
    for (int i = 0; i < argc; i++)
        if (!strncmp(argv[i], key, length) && argv[i][length] == '=')
            return argv[i] + length + 1;
    return NULL;
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info,
                                                               int argc, char **argv)
{
    const char *table = value_of(argc, argv, "table"), *name = value_of(argc, argv, "report");
    const char *from = value_of(argc, argv, "begin"), *to = value_of(argc, argv, "end");
    (void)info;
    if (!table || !name || !from || !to || read_table(table))
        return -1;
    begin_address = strtoull(from, NULL, 16);
    end_address = strtoull(to, NULL, 16);
    report_name = strdup(name);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, report, NULL);
    return report_name ? 0 : -1;
}
