"""`python -m modelcommons.cli` is `commons`: what torchrun starts."""

from modelcommons.cli import main

main()
