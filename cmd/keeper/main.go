// Command keeper is the process that outlives the engine and the runtime daemon: it starts runtimed, reaps every
// container, and holds their stdio. Package keeper says what it does, and [keeper.Main] what its flags are.
package main

import (
	"os"

	"github.com/engine-lite/engine-lite/keeper"
)

func main() { os.Exit(keeper.Main(os.Args[1:])) }
