// Command bench measures engines and bare OCI runtimes beside each other. All do the same
// in turn, round by round, so that other load on the machine affects all alike. hack/bench
// runs it, in namespaces of its own, since it uses /run and other directories of the
// system.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/apart"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	o, err := parseOptions(os.Args[1:])
	if err == nil {
		err = o.run(ctx, os.Stdout)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures, or takes what was measured from a file, and writes what was asked for.
func (o *options) run(ctx context.Context, out *os.File) error {
	if o.from == "" {
		// The files that dockerd and containerd leave in /etc, /opt and elsewhere are removed with the namespace.
		if err := apart.Hide(); err != nil {
			return err
		}
	}
	if o.soak > 0 {
		return o.runSoak(ctx, out)
	}
	if o.kill {
		return o.runReliability(ctx, out)
	}
	var r *report
	var failed error
	if o.from != "" {
		var err error
		if r, err = readReport(o.from); err != nil {
			return err
		}
	} else {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, o.limit, fmt.Errorf("the bench is not done after %s", o.limit))
		defer cancel()
		if r, failed = measure(ctx, o); r == nil {
			return failed
		}
	}
	return errors.Join(failed, r.print(out), o.write(r))
}

// write writes the files that were asked for.
func (o *options) write(r *report) error {
	var errs []error
	if o.json != "" {
		errs = append(errs, r.writeJSON(o.json))
	}
	if o.svg != "" {
		errs = append(errs, r.draw(o.svg))
	}
	switch {
	case o.docs != "" && o.files:
		errs = append(errs, r.writeDocs(filepath.Join(o.docs, "performance-files.md")))
	case o.docs != "":
		errs = append(errs, r.writeJSON(filepath.Join(o.docs, "bench.json")), r.draw(o.docs),
			r.writeDocs(filepath.Join(o.docs, "performance.md")))
	}
	return errors.Join(errs...)
}
