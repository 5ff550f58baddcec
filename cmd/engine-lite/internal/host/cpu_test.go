package host

import "testing"

func FuzzCPULine(f *testing.F) {
	f.Add("cpu  1 2 3 4 5 6 7 8 9 10")
	f.Add("cpu 1 2 3")
	f.Add("intr 1 2 3 4 5 6 7 8")
	f.Fuzz(func(t *testing.T, line string) {
		if got := cpuLine(line); got%(1e9/userHZ) != 0 && got != 0 && len(line) < 100 {
			t.Logf("%q is %d", line, got) // sums may wrap, never panic
		}
	})
}
