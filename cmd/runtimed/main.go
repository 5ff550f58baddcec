// Command runtimed is the embedded runtime daemon, on its own: hack/build has engine-lite's program under this name
// instead.
package main

import (
	"os"

	"github.com/engine-lite/engine-lite/runtimed"
)

// version is set by the linker; empty: the module's version counts.
var version string

func main() { os.Exit(runtimed.Main(version, os.Args[1:])) }
