// Command parity sends the same command lines and requests, right and wrong ones, to
// engine-lite and to the newest dockerd, and compares what comes back: output, exit code,
// status, error text, events, and each field of JSON. hack/parity runs it.
//
// The cases are in tests/parity/cases. What differs on purpose is in
// tests/parity/differences.txt, with its reason. What dockerd answered is kept in
// tests/parity/dockerd.json, so that the short form needs no dockerd.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"github.com/engine-lite/engine-lite/internal/apart"
	"github.com/engine-lite/engine-lite/tests/peer"
)

type options struct {
	work, dir string
	pattern   string
	short     bool
	write     bool
	verbose   bool
}

func main() {
	if code, done := apart.Enter(); done {
		os.Exit(code)
	}
	if peer.Inside() {
		os.Exit(codeFor(runInside(os.Args[1:])))
	}
	var o options
	flag.StringVar(&o.work, "work", ".", "the work `tree`")
	flag.StringVar(&o.dir, "dir", "", "an empty `directory`")
	flag.StringVar(&o.pattern, "run", "", "only the cases whose names match this `expression`")
	flag.BoolVar(&o.short, "short", false, "engine-lite only; dockerd's answers are those of tests/parity/dockerd.json")
	flag.BoolVar(&o.write, "write-docs", false, "write dockerd.json and docs/parity.md")
	flag.BoolVar(&o.verbose, "v", false, "print all answers")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, &o)
	stop()
	os.Exit(codeFor(err))
}

func codeFor(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "parity:", err)
	return 1
}

func run(ctx context.Context, o *options) error {
	if _, err := regexp.Compile(o.pattern); err != nil {
		return err
	}
	here := filepath.Join(o.work, "tests/parity")
	cases, err := readCases(filepath.Join(here, "cases"), o.pattern)
	if err != nil {
		return err
	}
	reasons, err := readReasons(filepath.Join(here, "differences.txt"))
	if err != nil {
		return err
	}
	stored := filepath.Join(here, "dockerd.json")
	ours, err := ask(ctx, o, peer.EngineLite)
	if err != nil {
		return fmt.Errorf("engine-lite: %w", err)
	}
	var theirs answers
	if o.short {
		theirs, err = readAnswers(stored)
		theirs = theirs.of(cases)
	} else {
		theirs, err = ask(ctx, o, peer.Dockerd)
	}
	if err != nil {
		return fmt.Errorf("dockerd: %w", err)
	}
	report := compare(cases, ours, theirs, reasons)
	fmt.Print(report.text(o.verbose))
	if o.write {
		if o.pattern != "" || o.short {
			return errors.New("--write-docs needs all cases and both engines")
		}
		err = errors.Join(theirs.write(stored), report.write(filepath.Join(o.work, "docs/parity.md")))
	}
	if o.pattern == "" {
		err = errors.Join(err, reasons.stale())
	}
	if n := len(report.unexplained); n > 0 {
		err = errors.Join(err, fmt.Errorf("%d differences have no reason in tests/parity/differences.txt", n))
	}
	return err
}

// ask runs the cases on an engine, in a process with namespaces of its own.
func ask(ctx context.Context, o *options, engine string) (answers, error) {
	dir := filepath.Join(o.dir, engine)
	if err := os.Mkdir(dir, 0o711); err != nil {
		return nil, err
	}
	out, err := os.Create(filepath.Join(dir, "answers"))
	if err != nil {
		return nil, err
	}
	defer out.Close()
	if err := peer.Again(ctx, out, o.work, dir, engine, o.pattern); err != nil {
		return nil, err
	}
	return readAnswers(out.Name())
}

// runInside is ask's process. It is the first process of its namespace.
func runInside(args []string) (err error) {
	if len(args) != 4 {
		return fmt.Errorf("want 4 arguments, got %q", args)
	}
	work, dir, engine, pattern := args[0], args[1], args[2], args[3]
	ctx := context.Background()
	cases, err := readCases(filepath.Join(work, "tests/parity/cases"), pattern)
	if err != nil {
		return err
	}
	if err := peer.Enter(); err != nil {
		return err
	}
	d, err := peer.New(work, dir, engine)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Stop(ctx)) }()
	if err := d.Start(ctx); err != nil {
		return err
	}
	if err := d.Import(ctx, image); err != nil {
		return err
	}
	r, err := newRunner(work, dir, d)
	if err != nil {
		return err
	}
	for _, c := range cases {
		if err := r.run(ctx, c); err != nil {
			return fmt.Errorf("case %s: %w; the end of the daemon's log:\n%s", c.name, err, d.LastWords())
		}
	}
	return r.answers.writeTo(os.NewFile(3, "answers"))
}

// matches tells whether a name has to be run.
func matches(pattern, name string) bool {
	return pattern == "" || regexp.MustCompile(pattern).MatchString(name)
}

// fields cuts a line at its first space.
func cut(line string) (first, rest string) {
	first, rest, _ = strings.Cut(line, " ")
	return first, strings.TrimSpace(rest)
}
