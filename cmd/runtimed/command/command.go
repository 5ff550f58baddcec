// Package command is the command runtimed: the embedded runtime daemon, containerd's gRPC API over one OCI runtime.
// The keeper starts it.
//
// It is a package so that engine-lite's program can be runtimed's too: what two processes map of one file is in
// memory once.
package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/internal/heap"
	"github.com/engine-lite/engine-lite/internal/logfile"
	"github.com/engine-lite/engine-lite/internal/span/otlpfile"
	"github.com/engine-lite/engine-lite/internal/stacks"
	"github.com/engine-lite/engine-lite/runtimed"
)

// Program is the name under which a program is this command.
const Program = "runtimed"

// Meant tells whether this process was started as the command: under its name, or by it under CRIU's.
func Meant() bool {
	return filepath.Base(os.Args[0]) == Program || runtimed.StandsForCRIU()
}

// Main is the command: it returns the exit code when the daemon has ended. An empty version is that of the module.
func Main(version string) int {
	if err := runtimed.ExecCRIU(); err != nil {
		fmt.Fprintln(os.Stderr, "runtimed, as CRIU:", err)
		return 1
	}
	if err := run(version, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "runtimed:", err)
		return 1
	}
	return 0
}

// maxLog is where the log is cut, in bytes. The part before it is kept.
const maxLog = 16 << 20

func run(version string, args []string) (err error) {
	opts := runtimed.Options{Version: buildVersion(version)}
	flags := flag.NewFlagSet("runtimed", flag.ContinueOnError)
	flags.StringVar(&opts.Root, "root", "/run/engine-lite/runtimed", "state `directory`, one daemon at a time")
	flags.StringVar(&opts.Address, "address", "/run/engine-lite/runtimed.sock", "unix `socket` to serve containerd's API on")
	flags.StringVar(&opts.Keeper, "keeper", "/run/engine-lite/keeper/keeper.sock", "the keeper's `socket`")
	flags.StringVar(&opts.Runtime, "runtime", "", "OCI runtime, `name` or path (default: crun where it runs on this host, else runc)")
	flags.StringVar(&opts.ParentGroup, "parent-group", "", "`name` of the control group that all containers are below, to be removed after the last one")
	trace := flags.String("trace", "", "`file` that the spans of traced requests are appended to, as OTLP's JSON")
	level := flags.String("log-level", "info", "`level` of messages: error, warning, info or debug")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	parsed, err := logrus.ParseLevel(*level)
	if err != nil {
		return err
	}
	logrus.SetLevel(parsed)
	// Specs of execs go to temporary files, which may hold secrets and must not outlive a crash.
	if err := os.Setenv("XDG_RUNTIME_DIR", filepath.Join(opts.Root, ".tmp")); err != nil {
		return err
	}
	tracer, err := otlpfile.Open(*trace, "runtimed")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tracer.Close()) }()
	if tracer != nil {
		opts.Trace = tracer.Begin
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	defer heap.KeepSmall()()
	defer logfile.Bound(os.Stderr, maxLog, time.Minute, func(err error) { logrus.WithError(err).Error("cannot cut the log") })()
	defer stacks.OnSignal(filepath.Join(filepath.Dir(opts.Address), "runtimed.stacks"), func(err error) { logrus.Error(err) })()
	d, err := runtimed.New(ctx, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return d.Run(ctx)
}

func buildVersion(version string) string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "devel"
}
