package main

import (
	"flag"
	"fmt"
	"strings"
	"time"
)

// options are the options of the command line.
type options struct {
	rounds  int
	targets []string // names; empty for all that the machine has
	rows    []string // names of rows; empty for all
	short   bool
	newest  bool
	grow    bool
	kill    bool // reliability instead of speed
	files   bool
	soak    int           // minutes of churn instead of all that; 0 for none
	seed    uint64        // of the churn
	limit   time.Duration // of the whole run

	work  string // the repository
	dir   string // where images, logs and journals are: on a disk
	json  string
	svg   string
	docs  string
	from  string
	sizes sizes
}

// sizes are how much each workload does.
type sizes struct {
	stdout, logs, stdin int // bytes
	many                int // containers
	resident            int // containers while memory is measured
	grow                []int
	subscribers         []int
	history             []int // events
	file                int   // bytes of the big file
	files, changes      int   // small files, and files that diff lists
}

var (
	wholeSizes = sizes{
		stdout: 1 << 30, logs: 256 << 20, stdin: 512 << 20, many: 50, resident: 50,
		grow: []int{1, 10, 100, 1000}, subscribers: []int{1, 100, 1000}, history: []int{1000, 1_000_000},
		file: 1 << 30, files: 20_000, changes: 100_000,
	}
	shortSizes = sizes{
		stdout: 256 << 20, logs: 64 << 20, stdin: 128 << 20, many: 16, resident: 10,
		grow: []int{1, 10}, subscribers: []int{1, 100}, history: []int{1000}, file: 64 << 20, files: 1000, changes: 5000,
	}
)

func parseOptions(args []string) (*options, error) {
	o := &options{sizes: wholeSizes}
	f := flag.NewFlagSet("hack/bench", flag.ContinueOnError)
	f.IntVar(&o.rounds, "rounds", 0,
		"how often each is measured; streams a quarter and many containers an eighth as often (default 20, with --short 3)")
	targets := f.String("targets", "",
		"measure these only, commas between: "+strings.Join(targetNames(), " ")+" (default all but docker-newest)")
	rows := f.String("rows", "", "measure these only, commas between: "+strings.Join(rowNames(), " "))
	f.BoolVar(&o.short, "short", false,
		"a minute of it: engine-lite and the bare runtimes, less of everything; fails if one of them cannot run")
	f.BoolVar(&o.newest, "newest", false, "also the newest dockerd and containerd, which hack/dockerd builds")
	f.BoolVar(&o.grow, "grow", false,
		"also engine-lite with up to 1,000 containers, 1,000 subscribers and 1,000,000 events")
	f.BoolVar(&o.kill, "reliability", false,
		"measure nothing of all that: kill engines, and see what they know afterwards (hack/reliability)")
	f.BoolVar(&o.files, "files", false,
		"measure nothing of all that: mounts, cp, commit, diff and the content of new volumes (--write-docs: docs/performance-files.md)")
	f.IntVar(&o.soak, "minutes", 0,
		"measure nothing of all that: so many minutes of churn, after which nothing may have grown (hack/soak)")
	f.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "what the churn's containers do depends on it")
	f.DurationVar(&o.limit, "limit", 25*time.Minute, "end the run after this time")
	f.StringVar(&o.json, "json", "", "write all figures to this `file`")
	f.StringVar(&o.svg, "svg", "", "draw pictures into this `directory`")
	docs := f.Bool("write-docs", false,
		"write the tables of docs/performance.md, its pictures and docs/bench.json; of docs/reliability.md or docs/testing.md, if those are measured")
	f.StringVar(&o.from, "from", "", "measure nothing, take the figures from a `file` of --json")
	f.StringVar(&o.work, "work", ".", "the repository's `directory`, which hack/bench sets")
	f.StringVar(&o.dir, "dir", "", "`directory` for images and logs, which hack/bench makes and removes")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("what is %q? (--help)", f.Arg(0))
	}
	o.targets, o.rows = list(*targets), list(*rows)
	if *docs {
		o.docs = o.work + "/docs"
	}
	return o, o.complete()
}

// complete fills in what depends on other options, and checks names.
func (o *options) complete() error {
	if o.short {
		o.sizes = shortSizes
	}
	if o.rounds == 0 {
		o.rounds = map[bool]int{true: 3, false: 20}[o.short || o.kill]
		if o.short && o.kill {
			o.rounds = 1
		}
	}
	if o.files && len(o.rows) == 0 {
		for _, w := range workloads {
			if w.files {
				o.rows = append(o.rows, w.rows...)
			}
		}
	}
	if o.rounds < 1 || o.rounds > 1000 {
		return fmt.Errorf("%d rounds: 1 to 1000", o.rounds)
	}
	if o.soak < 0 || o.soak == 1 || o.soak > 24*60 {
		return fmt.Errorf("%d minutes: 2, of which the first is the measure of the others, to a day", o.soak)
	}
	if o.dir == "" && o.from == "" {
		return fmt.Errorf("run hack/bench, which gives this a directory and namespaces of its own")
	}
	return firstError(known("row", o.rows, rowNames()), known("target", o.targets, targetNames()))
}

func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

func known(what string, names, all []string) error {
	for _, name := range names {
		if !contains(all, name) {
			return fmt.Errorf("no %s %q; there are: %s", what, name, strings.Join(all, " "))
		}
	}
	return nil
}
