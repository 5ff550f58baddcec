// Command chaos kills the processes of an engine-lite at random, for minutes, while real
// containers of several kinds are created, run and end. Then it compares what the
// containers' programs reported with the journal, the records of its consumers, the logs
// and the API. It prints a table and ends with 1 if there is any difference.
//
//	chaos --minutes 2 --seed 7 --bin ../../bin
//
// hack/chaos builds this program and runs it in namespaces of its own: see package apart.
// The same program runs in the containers ("chaos program KIND") and consumes the events
// ("chaos consume").
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/engine-lite/engine-lite/internal/apart"
)

func main() {
	var err error
	switch {
	case len(os.Args) > 2 && os.Args[1] == "program":
		os.Exit(runProgram(os.Args[2:]))
	case len(os.Args) > 1 && os.Args[1] == "consume":
		err = consume(os.Args[2:])
	default:
		if code, done := apart.Enter(); done {
			os.Exit(code)
		}
		err = runChaos()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

// runChaos runs the program. Its error has the number of differences.
func runChaos() error {
	minutes := flag.Float64("minutes", 2, "how long processes are killed")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()),
		"of the random decisions of the killer and of the containers' users")
	bin := flag.String("bin", "bin", "where engine-lite, keeper and runtimed are")
	keep := flag.Bool("keep", false, "keep the directory when there are differences")
	flag.Parse()
	if *minutes <= 0 || *minutes > 24*60 {
		return fmt.Errorf("%v minutes: up to a day", *minutes)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	w, err := newWorld(*bin, *seed)
	if err != nil {
		return err
	}
	fmt.Printf("chaos: %v minutes, seed %d, in %s\n", *minutes, *seed, w.dir)
	err = w.runAll(ctx, time.Duration(*minutes*float64(time.Minute)))
	err = errors.Join(err, w.print(os.Stdout))
	if n := len(w.differences); n > 0 && err == nil {
		err = fmt.Errorf("%d differences", n)
	}
	if err != nil && *keep {
		fmt.Println("kept:", w.dir)
		return err
	}
	if left := os.RemoveAll(w.dir); err == nil {
		err = left
	}
	return err
}
