// Command engine-lite-oci has the command line of an OCI runtime. It runs a real OCI
// runtime, below the process that calls it, and writes each action to a log that the
// engine reads (internal/ocilog). So the container is in the engine's events.
//
//	engine-lite-oci [--run DIR] [--runtime NAME] [--root DIR] create|start|state|kill|delete|... ID
//
// It is a program apart from engine-lite since every start of a container waits for
// it: a small program is loaded sooner.
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

// exitError is the exit code of an OCI runtime that has reported its failure itself.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }
