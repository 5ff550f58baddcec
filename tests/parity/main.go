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
	"path/filepath"
	"regexp"
	"strings"

	"github.com/engine-lite/engine-lite/tests/peer"
)

type options struct {
	work, dir string
	pattern   string
	short     bool
	write     bool
	verbose   bool
}

func main() { os.Exit(peer.Main("parity", outside, inside)) }

func outside(ctx context.Context) error {
	var o options
	flag.StringVar(&o.work, "work", ".", "the work `tree`")
	flag.StringVar(&o.dir, "dir", "", "an empty `directory`")
	flag.StringVar(&o.pattern, "run", "", "only the cases whose names match this `expression`")
	flag.BoolVar(&o.short, "short", false, "engine-lite only; dockerd's answers are those of tests/parity/dockerd.json")
	flag.BoolVar(&o.write, "write-docs", false, "write dockerd.json and docs/parity.md")
	flag.BoolVar(&o.verbose, "v", false, "print the reasons for differences")
	flag.Parse()
	return run(ctx, &o)
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
	data, err := peer.Again(ctx, o.work, filepath.Join(o.dir, engine), engine, o.pattern)
	if err != nil {
		return nil, err
	}
	return parseAnswers(data)
}

// inside is ask's process.
func inside(args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("want 4 arguments, got %q", args)
	}
	work, dir, engine, pattern := args[0], args[1], args[2], args[3]
	ctx := context.Background()
	cases, err := readCases(filepath.Join(work, "tests/parity/cases"), pattern)
	if err != nil {
		return err
	}
	return peer.With(ctx, work, dir, engine, []string{image}, func(d *peer.Daemon) error {
		r, err := newRunner(work, dir, d)
		if err != nil {
			return err
		}
		for _, c := range cases {
			if err := r.run(ctx, c); err != nil {
				return fmt.Errorf("case %s: %w", c.name, err)
			}
		}
		return r.answers.writeTo(peer.Answer())
	})
}

// matches tells whether a name has to be run.
func matches(pattern, name string) bool {
	return pattern == "" || regexp.MustCompile(pattern).MatchString(name)
}

// cut cuts a line at its first space.
func cut(line string) (first, rest string) {
	first, rest, _ = strings.Cut(line, " ")
	return first, strings.TrimSpace(rest)
}
