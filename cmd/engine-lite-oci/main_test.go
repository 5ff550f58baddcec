package main

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
	"testing"
)

// killAt is an environment variable. With it the test binary is the program itself,
// and kills itself at the step of that number, counted from 1; with 0 never. The
// package tests uses it.
const killAt = "ENGINE_LITE_OCI_TEST_KILL_AT"

func TestMain(m *testing.M) {
	at, ok := os.LookupEnv(killAt)
	if !ok {
		os.Exit(m.Run())
	}
	last, err := strconv.Atoi(at)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	step := 0
	between = func(name string) {
		if step++; step == last {
			fmt.Fprintln(os.Stderr, "killed at:", name)
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	main()
	os.Exit(0)
}
