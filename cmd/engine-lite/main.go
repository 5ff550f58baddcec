// Command engine-lite is a container engine: Docker's REST API over libcontainerd.
//
//	engine-lite [--root DIR] [--run DIR] [--runtime NAME] [--containerd ADDRESS | --containerd-binary PATH]
//	            [--add-runtime NAME=PATH]... [--runtime-arg NAME=ARGUMENT]...
//	engine-lite journal check|dump
//	engine-lite oci COMMAND...
//
// It starts the keeper, and through it the runtime daemon, where none runs. Both
// and all containers run on when it ends.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/heap"
	"github.com/engine-lite/engine-lite/internal/stacks"
	"github.com/engine-lite/engine-lite/runtimed"
)

// version is set by the linker.
var version = "0.1.0-dev"

func main() {
	if runtimed.Meant() {
		os.Exit(runtimed.Main(version, os.Args[1:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	if err := new(config).command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "engine-lite:", err)
		os.Exit(1)
	}
}

// config is what the command line says.
type config struct {
	root, run  string
	socket     string
	group      string // whose members may use the socket, too
	runtime    string
	containerd string
	binaries   string
	logLevel   string
	trace      string

	containerdBinary string // started here, in place of one that runs
	quietProbes      bool

	events retention

	addRuntimes, runtimeArgs []string
	experimental             bool
}

func (c *config) command() *cobra.Command {
	cmd := &cobra.Command{
		Use: "engine-lite", Short: "a container engine with Docker's REST API", Version: version,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.start(cmd.Context()) },
	}
	cmd.AddCommand(ociCommand(), journalCommand())
	f := cmd.Flags()
	f.StringVar(&c.root, "root", "/var/lib/engine-lite", "`directory` of journal, images and logs")
	f.StringVar(&c.run, "run", "/run/engine-lite", "`directory` of sockets, FIFOs and what a reboot ends")
	f.StringVar(&c.socket, "socket", "", "`path` of the REST API's socket (default RUN/engine.sock)")
	f.StringVar(&c.group, "group", "", "`name` of a group whose members may use the socket beside root: they are as good as root")
	f.StringVar(&c.runtime, "runtime", "",
		"OCI runtime of the embedded runtime daemon, a `name` or path (default crun where it runs, else runc)")
	f.StringArrayVar(&c.addRuntimes, "add-runtime", nil,
		"further OCI runtime, as `NAME=PATH`, for docker run --runtime NAME; may be repeated")
	f.StringArrayVar(&c.runtimeArgs, "runtime-arg", nil,
		"global argument of such a runtime, as `NAME=ARGUMENT`; may be repeated")
	f.StringVar(&c.containerd, "containerd", "",
		"`address` of a containerd to use in place of the embedded runtime daemon")
	f.StringVar(&c.containerdBinary, "containerd-binary", "",
		"`name` or path of a containerd to start, and keep running, in place of the embedded runtime daemon")
	cmd.MarkFlagsMutuallyExclusive("containerd", "containerd-binary")
	c.events.flags(f)
	f.StringVar(&c.binaries, "libexec", "",
		"`directory` of the programs keeper and runtimed (default the one of this program)")
	f.BoolVar(&c.quietProbes, "quiet-probes", false,
		"leave the exec events of health probes out: of what is kept they take 0.7 kB each")
	f.BoolVar(&c.experimental, "experimental", false, "have what is experimental in Docker's API: checkpoints")
	f.StringVar(&c.logLevel, "log-level", "info", "`level` of messages: error, warn, info, debug")
	f.StringVar(&c.trace, "trace", "",
		"`file` that OpenTelemetry's spans of all requests are appended to, as OTLP's JSON; runtimed's too, where this engine starts it")
	return cmd
}

// start checks the command line, takes the directories and runs the daemon.
func (c *config) start(ctx context.Context) error {
	level, err := logrus.ParseLevel(c.logLevel)
	if err != nil {
		return err
	}
	logrus.SetLevel(level)
	if err := c.complete(); err != nil {
		return err
	}
	locks, err := lockDirs(c.root, c.run)
	if err != nil {
		return err
	}
	defer locks.release()
	defer heap.KeepSmall()()
	defer stacks.OnSignal(filepath.Join(c.run, "engine.stacks"), func(err error) { logrus.Error(err) })()
	return c.serve(ctx)
}

func (c *config) complete() error {
	err := c.events.check()
	if err != nil {
		return err
	}
	for _, dir := range []*string{&c.root, &c.run} {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return err
		}
	}
	if c.trace != "" {
		if c.trace, err = filepath.Abs(c.trace); err != nil {
			return err
		}
	}
	if c.containerdBinary != "" {
		if c.containerdBinary, err = exec.LookPath(c.containerdBinary); err != nil {
			return err
		}
		if c.containerdBinary, err = filepath.Abs(c.containerdBinary); err != nil {
			return err
		}
	}
	if c.socket == "" {
		c.socket = filepath.Join(c.run, "engine.sock")
	}
	if c.binaries == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		c.binaries = filepath.Dir(self)
	}
	return nil
}
