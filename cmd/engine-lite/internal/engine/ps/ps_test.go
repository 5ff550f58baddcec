package ps

import (
	"slices"
	"testing"

	"github.com/containerd/errdefs"
)

func TestPickProcesses(t *testing.T) {
	table := "UID   PID CMD\nroot    1 init\nroot   42 sh -c  sleep 1\nroot  x  y\nshort\n"
	top, err := Pick(table, []int{42, 7})
	must(t, err)
	if len(top.Processes) != 1 || !slices.Equal(top.Processes[0], []string{"root", "42", "sh -c  sleep 1"}) {
		t.Errorf("%q", top.Processes)
	}
	for _, table := range []string{"", "UID CMD\na b\n", "\n\n"} {
		if _, err := Pick(table, []int{1}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v", table, err)
		}
	}
}

func FuzzPickProcesses(f *testing.F) {
	f.Add("PID\n1\n")
	f.Add("UID PID CMD\nroot 1 a b c\n")
	f.Add("CMD PID\na b 1\n\t\n")
	f.Fuzz(func(t *testing.T, table string) {
		top, err := Pick(table, []int{1})
		if err != nil {
			return
		}
		column := slices.Index(top.Titles, "PID")
		for _, p := range top.Processes {
			if len(p) > len(top.Titles) || len(p) <= column {
				t.Errorf("%q has %d columns of %d", p, len(p), len(top.Titles))
			}
		}
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
