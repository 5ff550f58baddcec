package keeper

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
)

// program is the configuration of Main.
type program struct {
	Config
	logPath string
	detach  bool
}

// Main is the keeper's command line. The program cmd/keeper calls it. An engine that is one program calls it when
// Options.Args say so, and does nothing else in that process. args are the last words of os.Args: a keeper that is to
// detach starts its own program again, with the words before args as they are.
//
//	[--dir DIR] [--log FILE] [--runtimed-log FILE] [--detach] [-- RUNTIMED ARGUMENTS...]
//
// Main returns the exit code: 0 after SIGTERM, SIGINT or Client.Stop, 1 for an error, 2 for a wrong command line. It
// writes errors to stderr. Runtimed ends with the keeper; containers run on.
func Main(args []string) int {
	// First of all: what ends the keeper in order must not kill it while it starts.
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	p, err := parse(args, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "keeper:", err)
		return 2
	}
	if p.detach {
		stop() // this process is nothing to end in order
		err = detach(args, p.logPath != "")
	} else {
		err = p.run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "keeper:", err)
		return 1
	}
	return 0
}

// parse reads the command line.
func parse(args []string, out io.Writer) (program, error) {
	var p program
	flags := flag.NewFlagSet("keeper", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&p.Dir, "dir", "", "`directory` of the lock, socket and ledger")
	flags.StringVar(&p.logPath, "log", "", "`file` that stdout and stderr are appended to once the keeper is up")
	flags.StringVar(&p.RuntimedLog, "runtimed-log", "", "`file` that runtimed's stdout and stderr are appended to")
	flags.BoolVar(&p.detach, "detach", false, "run in the background, in a session of its own")
	if err := flags.Parse(args); err != nil {
		return program{}, err
	}
	if p.Dir == "" {
		return program{}, errors.New("--dir is missing")
	}
	p.Runtimed = flags.Args()
	return p, nil
}

// detach starts this program again, without --detach and as somebody else's child once this process ends. Its
// stderr is ours until it is up.
func detach(args []string, logged bool) error {
	lead := len(os.Args) - len(args)
	if lead < 1 || !slices.Equal(os.Args[lead:], args) {
		return fmt.Errorf("cannot detach: %q are not the last words of this program's command line", args)
	}
	end := slices.Index(args, "--")
	if end < 0 {
		end = len(args)
	}
	own := slices.DeleteFunc(slices.Clone(args[:end]), func(a string) bool { return a == "--detach" || a == "-detach" })
	if !logged {
		own = append(own, "--log", os.DevNull)
	}
	argv := slices.Concat(os.Args[:lead], own, args[end:])
	process, err := os.StartProcess("/proc/self/exe", argv, &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("cannot detach: %w", err)
	}
	return process.Release()
}

// run is the keeper until ctx ends.
func (p program) run(ctx context.Context) error {
	// It mostly sleeps: small beats fast.
	runtime.GOMAXPROCS(2)
	debug.SetGCPercent(50)
	// A terminal that hangs up, or a log that nobody reads any more, must not end the keeper. (Ignoring them would
	// be inherited by every container.)
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGPIPE)
	p.Log = log.New(os.Stderr, "keeper: ", log.LstdFlags|log.LUTC)
	defer stacks.OnSignal(filepath.Join(p.Dir, "keeper.stacks"), func(err error) { p.Log.Print(err) })()
	return Run(ctx, p.Config, func() {
		if err := redirect(p.logPath); err != nil {
			p.Log.Print(err)
			if err := redirect(os.DevNull); err != nil {
				p.Log.Print(err)
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
