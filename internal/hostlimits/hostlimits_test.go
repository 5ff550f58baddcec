package hostlimits

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func ptr[T any](v T) *T { return &v }

// withHard returns b with the same hard limit for all resources.
func withHard(b Bounds, hard uint64) Bounds {
	b.HardLimit = func(int) (uint64, error) { return hard, nil }
	return b
}

type list = []specs.POSIXRlimit

func TestClamp(t *testing.T) {
	limit := func(kind string, soft, hard uint64) specs.POSIXRlimit {
		return specs.POSIXRlimit{Type: kind, Soft: soft, Hard: hard}
	}
	without := withHard(Bounds{OOMScoreAdj: 100}, 1000)
	for name, c := range map[string]struct {
		bounds   Bounds
		score    *int
		limits   []specs.POSIXRlimit
		want     []specs.POSIXRlimit
		score2   *int
		warnings int
	}{
		"all allowed": {
			withHard(Bounds{SysResource: true}, 1000), ptr(-1000),
			list{limit("RLIMIT_NOFILE", 5000, 5000)},
			list{limit("RLIMIT_NOFILE", 5000, 5000)}, ptr(-1000), 0,
		},
		"nothing asked": {without, nil, nil, nil, nil, 0},
		"less than there is": {
			without, ptr(100),
			list{limit("RLIMIT_NOFILE", 10, 1000)},
			list{limit("RLIMIT_NOFILE", 10, 1000)}, ptr(100), 0,
		},
		"score too low": {without, ptr(99), nil, nil, ptr(100), 1},
		"hard limit too high": {
			without, nil,
			list{limit("RLIMIT_NPROC", 10, 1001)},
			list{limit("RLIMIT_NPROC", 10, 1000)}, nil, 1,
		},
		"both too high": {
			without, nil,
			list{limit("RLIMIT_CORE", unix.RLIM_INFINITY, unix.RLIM_INFINITY)},
			list{limit("RLIMIT_CORE", 1000, 1000)}, nil, 1,
		},
		"unknown kind": {
			without, nil,
			list{limit("RLIMIT_NOPE", 5, 5000)},
			list{limit("RLIMIT_NOPE", 5, 5000)}, nil, 0,
		},
		"all too high": {without, ptr(-1), list{limit("RLIMIT_NOFILE", 1, 2000), limit("RLIMIT_CPU", 1, 2000)},
			list{limit("RLIMIT_NOFILE", 1, 1000), limit("RLIMIT_CPU", 1, 1000)}, ptr(100), 3},
	} {
		t.Run(name, func(t *testing.T) {
			p := &specs.Process{OOMScoreAdj: c.score, Rlimits: c.limits}
			warnings := c.bounds.Clamp(p)
			if len(warnings) != c.warnings {
				t.Errorf("warnings: %q", warnings)
			}
			for _, w := range warnings {
				if !strings.Contains(w, "CAP_SYS_RESOURCE") {
					t.Errorf("%q doesn't say what is missing", w)
				}
			}
			if (p.OOMScoreAdj == nil) != (c.score2 == nil) || p.OOMScoreAdj != nil && *p.OOMScoreAdj != *c.score2 {
				t.Errorf("score %v", p.OOMScoreAdj)
			}
			for i, l := range p.Rlimits {
				if l != c.want[i] {
					t.Errorf("limit %+v, want %+v", l, c.want[i])
				}
			}
		})
	}
}

func TestFirstUserNamespace(t *testing.T) {
	for text, first := range map[string]bool{
		"         0          0 4294967295\n": true, "0 0 4294967295": true,
		"0 1000 1\n": false, "0 0 1000\n": false, "": false,
		"0 0 4294967295\n1 1 1\n": false, "0 100000 65536": false,
	} {
		if wholeRange([]byte(text)) != first {
			t.Errorf("%q: %v", text, !first)
		}
	}
}

// Here says what the kernel does: the kernel takes a lower score only with SysResource.
func TestHere(t *testing.T) {
	b, err := Here()
	if err != nil {
		t.Fatal(err)
	}
	text := strconv.Itoa(b.OOMScoreAdj - 1)
	if b.OOMScoreAdj > -1000 {
		err := os.WriteFile("/proc/self/oom_score_adj", []byte(text), 0)
		if (err == nil) != b.SysResource {
			t.Errorf("SysResource %t, and a lower score: %v", b.SysResource, err)
		}
	}
	var hard unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &hard); err != nil {
		t.Fatal(err)
	}
	if got, err := b.HardLimit(unix.RLIMIT_NOFILE); got != hard.Max || err != nil {
		t.Errorf("hard limit %d, %v; want %d", got, err, hard.Max)
	}
}

func FuzzWholeRange(f *testing.F) {
	f.Add([]byte("0 0 4294967295\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if wholeRange(data) && len(strings.Fields(string(data))) != 3 {
			t.Errorf("%q is no whole range", data)
		}
	})
}

// Clamp leaves nothing above the bounds, for any process, and a second Clamp changes nothing.
func FuzzClamp(f *testing.F) {
	f.Add([]byte(`{"rlimits":[{"type":"RLIMIT_NOFILE","hard":18446744073709551615}],"oomScoreAdj":-7}`))
	f.Add([]byte(`{"rlimits":[{"type":"RLIMIT_NOPE","hard":9},{"type":"RLIMIT_AS","soft":9,"hard":6},` +
		`{"type":"RLIMIT_AS","hard":7}]}`))
	b := withHard(Bounds{OOMScoreAdj: -3}, 5)
	f.Fuzz(func(t *testing.T, data []byte) {
		var p specs.Process
		if json.Unmarshal(data, &p) != nil {
			return
		}
		b.Clamp(&p)
		for _, l := range p.Rlimits {
			if _, known := limits[l.Type]; known && l.Hard > 5 {
				t.Errorf("limit %+v", l)
			}
		}
		if p.OOMScoreAdj != nil && *p.OOMScoreAdj < -3 {
			t.Errorf("score %d", *p.OOMScoreAdj)
		}
		if again := b.Clamp(&p); again != nil {
			t.Errorf("clamped again: %q", again)
		}
	})
}
