"""What a program means in whole numbers: every operator on codes, exactly, the same on every processor.

PyTorch runs a quantized program in float32, where the order of additions decides about sums near a rounding limit. Here
each operator adds up integers and rounds once, so there is one result; C computes it on every instruction set, and
`evaluate` is what it is held against, bit for bit.

    values.py      codes, signs and real numbers that pass between operations
    operations.py  the operations, one data class each
    arithmetic.py  how a sum becomes a code
    lowering.py    from a `torch.export` program to operations; forms.py and movements.py
                   know the operators, windows.py their windows
    signs.py       folds everything between a sum of signs and the next sign into a threshold
    simplify.py    takes out what another operation can do on its way
    evaluate.py    runs the operations in PyTorch, exactly: running.py, sums.py and moves.py
"""
