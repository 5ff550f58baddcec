// Command chaos kills the processes of an engine-lite at random, for minutes, while
// real containers of all kinds come, run and end. Then it compares what the
// containers themselves said of their lives with what the journal, its consumers,
// the logs and the API say. It prints a table and ends with 1 for any difference.
//
//	chaos --minutes 2 --seed 7 --bin ../../bin
//
// hack/chaos builds and runs it, in a place of its own: see package apart. The same program is what runs in the containers
// ("chaos act KIND") and what consumes the events ("chaos consume").
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
	case len(os.Args) > 2 && os.Args[1] == "act":
		os.Exit(act(os.Args[2:]))
	case len(os.Args) > 1 && os.Args[1] == "consume":
		err = consume(os.Args[2:])
	default:
		if code, done := apart.Enter(); done {
			os.Exit(code)
		}
		err = storm()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

// storm is a whole run of chaos. Its error says how many differences there are.
func storm() error {
	minutes := flag.Float64("minutes", 2, "how long processes are killed")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "what the killer and the containers' users do depends on it")
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
	err = w.chaos(ctx, time.Duration(*minutes*float64(time.Minute)))
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
