// Command keeper is the process that outlives the engine and the runtime daemon: it starts runtimed, reaps every
// container, and holds their stdio. See package keeper for what it does.
//
//	keeper --dir DIR [--log FILE] [--runtimed-log FILE] [--detach] [-- RUNTIMED ARGUMENTS...]
//
// It ends on SIGTERM or SIGINT, and with it runtimed; containers run on. Exit codes: 0 after a signal, 1 for an
// error, 2 for a wrong command line.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/stacks"
	"github.com/engine-lite/engine-lite/keeper"
)

type options struct {
	keeper.Config
	logPath string
	detach  bool
}

func main() {
	// First of all: what ends the keeper in order must not kill it while it starts.
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	opts, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(0)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "keeper:", err)
		os.Exit(2)
	}
	if opts.detach {
		stop() // this process is nothing to end in order
		err = detach(os.Args, opts.logPath != "")
	} else {
		err = run(ctx, opts)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "keeper:", err)
		os.Exit(1)
	}
}

// parse reads the command line.
func parse(args []string, out io.Writer) (options, error) {
	var opts options
	flags := flag.NewFlagSet("keeper", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&opts.Dir, "dir", "", "`directory` of the lock, socket and ledger")
	flags.StringVar(&opts.logPath, "log", "", "`file` that stdout and stderr are appended to once the keeper is up")
	flags.StringVar(&opts.RuntimedLog, "runtimed-log", "", "`file` that runtimed's stdout and stderr are appended to")
	flags.BoolVar(&opts.detach, "detach", false, "run in the background, in a session of its own")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	if opts.Dir == "" {
		return options{}, errors.New("--dir is missing")
	}
	opts.Runtimed = flags.Args()
	return opts, nil
}

// detach starts this program again, without --detach and as somebody else's child once this process ends. Its
// stderr is ours until it is up.
func detach(args []string, logged bool) error {
	end := slices.Index(args, "--")
	if end < 0 {
		end = len(args)
	}
	own := slices.DeleteFunc(slices.Clone(args[:end]), func(a string) bool { return a == "--detach" || a == "-detach" })
	if !logged {
		own = append(own, "--log", os.DevNull)
	}
	process, err := os.StartProcess("/proc/self/exe", append(own, args[end:]...), &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("cannot detach: %w", err)
	}
	return process.Release()
}

// run is the keeper until ctx ends.
func run(ctx context.Context, opts options) error {
	// It mostly sleeps: small beats fast.
	runtime.GOMAXPROCS(2)
	debug.SetGCPercent(50)
	// A terminal that hangs up, or a log that nobody reads any more, must not end the keeper. (Ignoring them would
	// be inherited by every container.)
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGPIPE)
	opts.Log = log.New(os.Stderr, "keeper: ", log.LstdFlags|log.LUTC)
	defer stacks.OnSignal(filepath.Join(opts.Dir, "keeper.stacks"), func(err error) { opts.Log.Print(err) })()
	return keeper.Run(ctx, opts.Config, func() {
		if err := redirect(opts.logPath); err != nil {
			opts.Log.Print(err)
			if err := redirect(os.DevNull); err != nil {
				opts.Log.Print(err)
			}
		}
	})
}

// redirect makes the log file stdout and stderr, which tells whoever started us that we are up.
func redirect(path string) error {
	if path == "" {
		return nil
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("cannot open the log: %w", err)
	}
	defer file.Close()
	for _, fd := range []int{1, 2} {
		if err := unix.Dup3(int(file.Fd()), fd, 0); err != nil {
			return fmt.Errorf("cannot write to the log: %w", err)
		}
	}
	return nil
}
