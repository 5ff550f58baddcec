package runtimed

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/heap"
	"github.com/engine-lite/engine-lite/internal/logfile"
	"github.com/engine-lite/engine-lite/internal/span/otlpfile"
	"github.com/engine-lite/engine-lite/internal/stacks"
)

// Config is the command line of Main: an engine fills the fields, and gives Args to the keeper (keeper.Options,
// Runtimed). An empty field has Main's default.
type Config struct {
	// Root is the state directory, one daemon at a time. Default: /run/engine-lite/runtimed.
	Root string
	// Address is the unix socket to serve containerd's API on. Default: /run/engine-lite/runtimed.sock.
	Address string
	// Keeper is the keeper's socket: keeper.SocketName in the keeper's directory. Default:
	// /run/engine-lite/keeper/keeper.sock.
	Keeper string
	// Runtime is the OCI runtime, a name or a path. Default: crun where it runs on this host, else runc.
	Runtime string
	// ParentGroup is the name of the control group that all containers are below. The daemon removes the group after
	// the last container. Default: the daemon removes no such group.
	ParentGroup string
	// Trace is a file that the spans of traced requests are appended to, as OTLP's JSON. Default: none.
	Trace string
	// LogLevel is the level of messages: error, warning, info or debug. Default: info.
	LogLevel string
}

// Args returns the command line without the program: the flags of all fields that are not empty.
func (c Config) Args() []string {
	var args []string
	c.flags().VisitAll(func(f *flag.Flag) {
		if value := f.Value.String(); value != "" {
			args = append(args, "--"+f.Name, value)
		}
	})
	return args
}

// flags has one flag for each field, whose default is the field's value.
func (c *Config) flags() *flag.FlagSet {
	f := flag.NewFlagSet("runtimed", flag.ContinueOnError)
	f.StringVar(&c.Root, "root", c.Root, "state `directory`, one daemon at a time")
	f.StringVar(&c.Address, "address", c.Address, "unix `socket` to serve containerd's API on")
	f.StringVar(&c.Keeper, "keeper", c.Keeper, "the keeper's `socket`")
	f.StringVar(&c.Runtime, "runtime", c.Runtime,
		"OCI runtime, `name` or path (default: crun where it runs on this host, else runc)")
	f.StringVar(&c.ParentGroup, "parent-group", c.ParentGroup,
		"`name` of the control group that all containers are below, to be removed after the last one")
	f.StringVar(&c.Trace, "trace", c.Trace,
		"`file` that the spans of traced requests are appended to, as OTLP's JSON")
	f.StringVar(&c.LogLevel, "log-level", c.LogLevel, "`level` of messages: error, warning, info or debug")
	return f
}

// parse reads the command line. It writes help and complaints to out.
func parse(args []string, out io.Writer) (Config, error) {
	c := Config{
		Root: "/run/engine-lite/runtimed", Address: "/run/engine-lite/runtimed.sock",
		Keeper: "/run/engine-lite/keeper/keeper.sock", LogLevel: "info",
	}
	flags := c.flags()
	flags.SetOutput(out)
	if err := flags.Parse(args); err != nil {
		return Config{}, err
	}
	if flags.NArg() > 0 {
		return Config{}, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if _, err := logrus.ParseLevel(c.LogLevel); err != nil {
		return Config{}, err
	}
	return c, nil
}

// Program is the name of a file that is runtimed, whatever else the same program is: see Meant.
const Program = "runtimed"

// Meant reports whether this process has to call Main: it was started under the name Program, or an OCI runtime has
// started it in place of CRIU (see StandsForCRIU).
func Meant() bool { return filepath.Base(os.Args[0]) == Program || StandsForCRIU() }

// Main is runtimed's command line: the program cmd/runtimed, or an engine that is one program and does nothing else in
// this process. args are the words of Config.Args. An empty version is that of the main module.
//
// A checkpoint lets the OCI runtime start the program in place of CRIU, without args (see ExecCRIU). So a program calls
// Main if Meant returns true, and where its own command line says so.
//
// Main returns the exit code: 0 after SIGTERM or SIGINT, 1 for an error, 2 for a wrong command line. It writes errors
// to stderr. Containers run on.
func Main(version string, args []string) int {
	if err := ExecCRIU(); err != nil {
		fmt.Fprintln(os.Stderr, "runtimed, as CRIU:", err)
		return 1
	}
	config, err := parse(args, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "runtimed:", err)
		return 2
	}
	if err := config.run(version); err != nil {
		fmt.Fprintln(os.Stderr, "runtimed:", err)
		return 1
	}
	return 0
}

// maxLog is where the log is cut, in bytes. The part before it is kept.
const maxLog = 16 << 20

func (c Config) run(version string) (err error) {
	level, err := logrus.ParseLevel(c.LogLevel)
	if err != nil {
		return err
	}
	logrus.SetLevel(level)
	// Specs of execs go to temporary files, which may hold secrets and must not outlive a crash.
	if err := os.Setenv("XDG_RUNTIME_DIR", filepath.Join(c.Root, ".tmp")); err != nil {
		return err
	}
	tracer, err := otlpfile.Open(c.Trace, "runtimed")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tracer.Close()) }()
	opts := Options{Root: c.Root, Address: c.Address, Keeper: c.Keeper, Runtime: c.Runtime,
		ParentGroup: c.ParentGroup, Version: buildVersion(version)}
	if tracer != nil {
		opts.Trace = tracer.Begin
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	// stderr may be a pipe to the keeper: runtimed ends in order when the keeper is gone.
	signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE)
	defer heap.KeepSmall()()
	defer logfile.Bound(os.Stderr, maxLog, time.Minute,
		func(err error) { logrus.WithError(err).Error("cannot cut the log") })()
	defer stacks.OnSignal(filepath.Join(filepath.Dir(c.Address), "runtimed.stacks"),
		func(err error) { logrus.Error(err) })()
	d, err := New(ctx, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return d.Run(ctx)
}

// buildVersion is the version to report. Without one from the linker, the main module's counts.
func buildVersion(version string) string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "devel"
}
