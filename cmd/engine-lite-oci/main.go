// Command engine-lite-oci is an OCI runtime's command line. It has a real OCI
// runtime do the work, in the process tree of whoever calls it, and tells the
// engine of it, so that the container is in the engine's events like any other.
//
//	engine-lite-oci [--run DIR] [--runtime NAME] [--root DIR] create|start|state|kill|delete|... ID
//
// It is a program of its own, and not a part of engine-lite's, since it is on the
// path of each start and has to be loaded in no time.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// version is set by the linker.
var version = "0.1.0-dev"

func main() {
	var o options
	err := command(&o).ExecuteContext(context.Background())
	var ended exitError
	switch {
	case err == nil:
	case errors.As(err, &ended): // the runtime has said why
		os.Exit(int(ended))
	default:
		fmt.Fprintln(os.Stderr, "engine-lite-oci:", err)
		o.logFailure(err)
		os.Exit(1)
	}
}

// exitError is the exit code of a program that has told the rest itself.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }
