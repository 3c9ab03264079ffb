"""Reads the ML program of a Core ML package and evaluates it, on any system.

`load_program(path)` gives the graph, `Evaluator(program)` runs it, `coverage()` lists the operators it knows.
"""

from .evaluator import Evaluator as Evaluator
from .operators import OPERATORS as OPERATORS
from .operators import coverage as coverage
from .program import MilOperation as MilOperation
from .program import MilProgram as MilProgram
from .program import MilValue as MilValue
from .program import load_program as load_program
