//go:build !race

package runtimed_test

// raceFlags build the programs like the tests.
var raceFlags []string
