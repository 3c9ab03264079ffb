"""Writes a program as plain C99: one header and one source file, no dependency, no allocation.

program.py     `to_c`: from a program to NAME.c and NAME.h
layout.py      the order of each value's axes in memory
arena.py       where in one static block each value lies, and when
loops.py       nests of loops over strided values
text.py        C's identifiers, numbers and arrays
emission.py    one operation as C: what emit_*.py register
emit_codes.py  operations on codes; emit_layers.py convolutions and linear layers; emit_signs.py ±1 ones;
emit_moves.py  movements; emit_reals.py operations on real numbers
packing_*.py   how weights lie in memory
kernels/       the C that layers call, one file for each instruction set
"""
