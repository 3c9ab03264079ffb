# From NAME.h, and the dist's manifest.json where it is given too: what main.c calls the network's first input and last
# output, whatever their names and types, and the labels of its classes.

FNR == 1 { file++; if (file == 1) { name = FILENAME; sub(/.*\//, "", name) } }

file == 1 && /^#define [A-Za-z0-9_]+_LENGTH / { lengths[++count] = $2 }

# void net_run(const float *image, float *logits);
file == 1 && /^ *void +[A-Za-z0-9_]+_run *\(/ { declaring = 1 }
file == 1 && declaring { declaration = declaration " " $0; if (/;/) declaring = 0 }

file == 2 && /^  "labels": \[$/ { listing = 1; next }
file == 2 && /^  \]/ { listing = 0 }
file == 2 && listing { sub(/^ +/, ""); sub(/,$/, ""); labels = labels $0 ", " }

END {
    run = declaration
    sub(/ *\(.*/, "", run)
    sub(/.* /, "", run)
    sub(/.*\(/, "", declaration)
    parameters = split(declaration, parameter, ",")
    if (!run || count < 2 || parameters < 2) {
        print name ": not the header of a network that offramp exported" > "/dev/stderr"
        exit 1
    }
    print "#include \"" name "\""
    print "#define NETWORK_RUN " run
    print "#define NETWORK_INPUT_LENGTH " lengths[1]
    print "#define NETWORK_OUTPUT_LENGTH " lengths[count]
    print "#define NETWORK_LABELS " labels "0"
    print "typedef " element(parameter[1]) " network_input;"
    print "typedef " element(parameter[parameters]) " network_output;"
}

function element(text) {
    sub(/ *\*.*/, "", text)
    sub(/.* /, "", text)
    return text
}
