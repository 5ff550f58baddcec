// Command peersuites runs the integration tests that moby wrote for dockerd against
// engine-lite and against the newest dockerd, and compares what passes with the table in
// docs/peer-suites.md. hack/peer-suites builds the tests and runs this program.
//
// Each suite has a daemon of its own, in a network namespace of its own: a suite may delete
// the daemon's networks. The tests' code stays in moby's module; nothing of it is here.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/engine-lite/engine-lite/tests/peer"
)

// suites are the packages below moby's integration/ that are run.
var suites = []string{"container", "volume", "network", "image", "system", "build", "session"}

// inShort are the suites of the short form, which runs only the tests that have to pass: others
// wait long for what does not happen.
var inShort = []string{"container", "system", "image"}

type options struct {
	work, dir string
	suites    []string
	engines   []string
	pattern   string
	short     bool
	write     bool
	verbose   bool
}

func main() { os.Exit(peer.Main("peersuites", outside, inside)) }

func outside(ctx context.Context) error {
	var o options
	var suiteList, engineList string
	flag.StringVar(&o.work, "work", ".", "the work `tree`")
	flag.StringVar(&o.dir, "dir", "", "an empty `directory`")
	flag.StringVar(&suiteList, "suites", "", "only these suites, with commas between them")
	flag.StringVar(&engineList, "engines", "", "only these engines: engine-lite, dockerd")
	flag.StringVar(&o.pattern, "run", "", "only the tests whose names match this `expression`; the table is left alone")
	flag.BoolVar(&o.short, "short", false, "engine-lite only, and of the suites container, system and image the tests that have to pass")
	flag.BoolVar(&o.write, "write-docs", false, "write the results into docs/peer-suites.md")
	flag.BoolVar(&o.verbose, "v", false, "print what tests print that do not pass")
	flag.Parse()
	o.suites, o.engines = suites, []string{peer.EngineLite, peer.Dockerd}
	if o.short {
		o.suites, o.engines = inShort, []string{peer.EngineLite}
	}
	if suiteList != "" {
		o.suites = strings.Split(suiteList, ",")
	}
	if engineList != "" {
		o.engines = strings.Split(engineList, ",")
	}
	return run(ctx, &o)
}

// run runs the suites, and compares or writes the table.
func run(ctx context.Context, o *options) error {
	for _, s := range o.suites {
		if !slices.Contains(suites, s) {
			return fmt.Errorf("there is no suite %q; there are: %s", s, strings.Join(suites, " "))
		}
	}
	doc := filepath.Join(o.work, "docs/peer-suites.md")
	stored, err := readTable(doc)
	if err != nil {
		return err
	}
	for _, engine := range o.engines {
		for _, suite := range o.suites {
			pattern := o.pattern
			if o.short && pattern == "" {
				pattern = stored.passing(suite)
			}
			results, err := runSuite(ctx, o, engine, suite, pattern)
			if err != nil {
				return fmt.Errorf("%s on %s: %w", suite, engine, err)
			}
			fmt.Printf("%-10s %-12s %s\n", suite, engine, count(results))
			stored.add(suite, engine, results)
		}
	}
	if o.pattern != "" {
		return nil
	}
	if o.write {
		return stored.write(doc)
	}
	var ran []string
	if slices.Contains(o.engines, peer.EngineLite) {
		ran = o.suites
	}
	news, err := stored.compare(ran)
	fmt.Print(news)
	return err
}

// images are the names that the suites expect. All are the same busybox: nothing can be
// pulled on a machine without a network.
var images = []string{
	"busybox:latest", "busybox:glibc", "hello-world:frozen", "debian:trixie-slim", "hello-world:amd64", "hello-world:arm64",
}

// inside is runSuite's process.
func inside(args []string) error {
	if len(args) != 6 {
		return fmt.Errorf("want 6 arguments, got %d", len(args))
	}
	work, dir, engine, suite, pattern, verbose := args[0], args[1], args[2], args[3], args[4], args[5] != ""
	ctx := context.Background()
	return peer.With(ctx, work, dir, engine, images, func(d *peer.Daemon) error {
		s := suiteRun{
			tmp: filepath.Join(dir, "tmp"), binary: filepath.Join(work, ".cache/peer-suites", suite+".test"),
			daemon: d, verbose: verbose, results: map[string]result{},
		}
		var err error
		if s.sources, err = sources(work, suite); err != nil {
			return err
		}
		if err := os.Mkdir(s.tmp, 0o777); err != nil {
			return err
		}
		err = s.runAll(ctx, pattern)
		fmt.Print(s.said.String())
		if err != nil {
			return err
		}
		return json.NewEncoder(peer.Answer()).Encode(s.results)
	})
}
