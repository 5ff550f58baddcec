//go:build !race

package runtimed_test

// raceFlags are the flags to build the programs like the tests.
var raceFlags []string
