package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/spf13/pflag"
)

// state prints the state of a container as the runtime prints it.
func (o *options) state(args []string) error {
	r, _, err := o.runtimeIn("state", args, pflag.NewFlagSet("state", pflag.ContinueOnError))
	if err != nil {
		return err
	}
	return r.become(append([]string{"state"}, args...)...)
}

// kill sends a signal. It does not wait for other commands on the container: the
// signal may be the only way to end a command that hangs.
func (o *options) kill(args []string) error {
	flags := pflag.NewFlagSet("kill", pflag.ContinueOnError)
	flags.BoolP("all", "a", false, "")
	r, _, err := o.runtimeIn("kill", args, flags)
	if err != nil {
		return err
	}
	return r.become(append([]string{"kill"}, args...)...)
}

// ps lists the processes of a container. It refuses a container that has ended: crun
// 1.8 crashes at one.
func (o *options) ps(args []string) error {
	flags := pflag.NewFlagSet("ps", pflag.ContinueOnError)
	flags.StringP("format", "f", "", "")
	r, id, err := o.runtimeIn("ps", args, flags)
	if err != nil {
		return err
	}
	there, err := r.state(id)
	if err != nil {
		return err
	}
	if there.Status == "stopped" {
		return fmt.Errorf("cannot list the processes of container %q, which is stopped: %w",
			id, errdefs.ErrFailedPrecondition)
	}
	return r.become(append([]string{"ps"}, args...)...)
}

// exec runs a process in a container. The runtime writes the pid file itself, since
// nothing has to be done before it.
func (o *options) exec(args []string) error {
	r, _, err := o.runtimeIn("exec", args, execFlags())
	if err != nil {
		return err
	}
	return r.become(append([]string{"exec"}, args...)...)
}

// execFlags are the flags of the runtimes' exec. Which argument is the container's id
// depends on which flags have values.
func execFlags() *pflag.FlagSet {
	flags := pflag.NewFlagSet("exec", pflag.ContinueOnError)
	for _, name := range []string{
		"console-socket", "cwd", "pid-file", "process-label", "apparmor", "preserve-fds", "cgroup",
	} {
		flags.String(name, "", "")
	}
	for name, short := range map[string]string{
		"env": "e", "user": "u", "additional-gids": "g", "process": "p", "cap": "c",
	} {
		flags.StringP(name, short, "", "")
	}
	for name, short := range map[string]string{"tty": "t", "detach": "d"} {
		flags.BoolP(name, short, false, "")
	}
	for _, name := range []string{"no-new-privs", "ignore-paused"} {
		flags.Bool(name, false, "")
	}
	return flags
}

func (o *options) list(args []string) error { return o.byDefault("list", args) }

func (o *options) features(args []string) error { return o.byDefault("features", args) }

func (o *options) byDefault(command string, args []string) error {
	if err := o.complete(); err != nil {
		return err
	}
	r, err := o.chooseRuntime()
	if err != nil {
		return err
	}
	return r.become(append([]string{command}, args...)...)
}

// runtimeIn returns the id of the container in the arguments of a command, and the
// runtime of that container.
func (o *options) runtimeIn(command string, args []string, flags *pflag.FlagSet) (ociRuntime, string, error) {
	flags.SetInterspersed(false)
	flags.SetOutput(io.Discard)
	if err := flags.Parse(args); err != nil {
		return ociRuntime{}, "", fmt.Errorf("%s: %v: %w",
			command, strings.TrimSpace(err.Error()), errdefs.ErrInvalidArgument)
	}
	if flags.NArg() == 0 {
		return ociRuntime{}, "", fmt.Errorf("%s needs a container id: %w", command, errdefs.ErrInvalidArgument)
	}
	id := flags.Arg(0)
	if err := o.check(id); err != nil {
		return ociRuntime{}, "", err
	}
	r, err := o.runtimeOf(id)
	return r, id, err
}
