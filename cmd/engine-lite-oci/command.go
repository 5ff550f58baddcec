package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

// command returns the command line. Commands that change nothing about the container's
// state go to the runtime unchanged.
func command(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use: "engine-lite-oci", Short: "an OCI runtime whose containers are in engine-lite's events",
		Version: version, SilenceUsage: true, SilenceErrors: true, TraverseChildren: true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args:              cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SetVersionTemplate("engine-lite-oci version {{.Version}}\n")
	cmd.SetHelpCommand(&cobra.Command{Hidden: true})
	f := cmd.Flags() // stand before the command, as those of OCI runtimes do
	f.StringVar(&o.run, "run", envOr("ENGINE_LITE_RUN", "/run/engine-lite"),
		"the engine's `directory` of what a reboot ends (ENGINE_LITE_RUN)")
	f.StringVar(&o.runtime, "runtime", os.Getenv("ENGINE_LITE_RUNTIME"),
		"OCI runtime, a `name` or path (ENGINE_LITE_RUNTIME; default crun where it runs, else runc)")
	f.StringVar(&o.root, "root", "", "`directory` of the runtime's state (default one below the run directory)")
	f.StringVar(&o.log, "log", "", "`file` for messages (default stderr)")
	f.StringVar(&o.logFormat, "log-format", "", "`format` of messages: text or json")
	f.StringVar(&o.rootless, "rootless", "", "passed to the runtime")
	f.BoolVar(&o.systemdCgroup, "systemd-cgroup", false, "cgroupsPath is slice:prefix:name, for systemd")
	f.BoolVar(&o.debug, "debug", false, "more messages")
	cmd.AddCommand(createCommand(o), runCommand(o), startCommand(o), deleteCommand(o),
		freezeCommand(o, pausing), freezeCommand(o, resuming),
		forwarded("state ID", "print the state of a container", o.state),
		forwarded("kill [--all] ID [SIGNAL]", "send a signal to a container's process", o.kill),
		forwarded("exec [FLAG...] ID [COMMAND...]", "run a process in a container", o.exec),
		forwarded("ps [FLAG...] ID [ARG...]", "list a container's processes", o.ps),
		forwarded("list [FLAG...]", "list the default runtime's containers", o.list),
		forwarded("features", "print the features of the default runtime", o.features))
	return cmd
}

func envOr(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

// createFlags are the flags of create and run.
type createFlags struct {
	bundle, consoleSocket, pidFile string
	noPivot, noNewKeyring          bool
	preserveFDs                    int
}

func (c *createFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&c.bundle, "bundle", "b", ".", "`directory` of the bundle")
	f.StringVar(&c.consoleSocket, "console-socket", "", "unix `socket` that gets the terminal's master")
	f.StringVar(&c.pidFile, "pid-file", "", "`file` that gets the process id, once all else is done")
	f.BoolVar(&c.noPivot, "no-pivot", false, "no pivot_root(2): for a root filesystem on a ramdisk")
	f.BoolVar(&c.noNewKeyring, "no-new-keyring", false, "the container has the caller's session key")
	f.IntVar(&c.preserveFDs, "preserve-fds", 0, "`number` of descriptors from 3 on that the container gets")
}

func (c *createFlags) args(pidFile string) []string {
	args := []string{"--bundle", c.bundle, "--pid-file", pidFile}
	if c.consoleSocket != "" {
		args = append(args, "--console-socket", c.consoleSocket)
	}
	if c.noPivot {
		args = append(args, "--no-pivot")
	}
	if c.noNewKeyring {
		args = append(args, "--no-new-keyring")
	}
	if c.preserveFDs > 0 {
		args = append(args, "--preserve-fds", fmt.Sprint(c.preserveFDs))
	}
	return args
}

func createCommand(o *options) *cobra.Command {
	var c createFlags
	cmd := &cobra.Command{
		Use: "create ID", Short: "create a container from a bundle", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.create(cmd.Context(), args[0], c) },
	}
	c.register(cmd)
	return cmd
}

func runCommand(o *options) *cobra.Command {
	var c createFlags
	var detach, keep bool
	cmd := &cobra.Command{
		Use: "run ID", Short: "create and start a container, and wait for its end", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if detach {
				return o.runDetached(cmd.Context(), args[0], c)
			}
			return o.runToEnd(cmd.Context(), args[0], c, keep)
		},
	}
	c.register(cmd)
	cmd.Flags().BoolVarP(&detach, "detach", "d", false, "don't wait")
	cmd.Flags().BoolVar(&keep, "keep", false, "don't delete the container after its end")
	return cmd
}

func startCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "start ID...", Short: "start created containers", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return each(args, func(id string) error { return o.start(cmd.Context(), id) })
		},
	}
}

func deleteCommand(o *options) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "delete ID", Short: "delete a container that has ended", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.delete(cmd.Context(), args[0], force) },
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "kill it before; no container is no error")
	return cmd
}

func freezeCommand(o *options, f freeze) *cobra.Command {
	return &cobra.Command{
		Use: f.command + " ID", Short: f.short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.freeze(cmd.Context(), args[0], f) },
	}
}

// forwarded is a command that changes nothing about a container's state. The runtime
// gets its arguments unchanged.
func forwarded(use, short string, run func(args []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error { return run(args) },
	}
}
