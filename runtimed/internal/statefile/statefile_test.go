package statefile

import "testing"

func FuzzPid(f *testing.F) {
	for _, seed := range []string{"1", "42\n", "", "-1", "+1", "0", "99999999999999", "1\n\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		pid, err := parsePid(data)
		if (err == nil) != (pid > 0) {
			t.Fatalf("%q is %d, %v", data, pid, err)
		}
	})
}
