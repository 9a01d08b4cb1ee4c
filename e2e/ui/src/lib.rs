//! Mistakes in applications, in `tests/ui/`: each must be found by the compiler, in words that help.
//! A package of its own, because trybuild rebuilds all dependencies of the package that it is in.
