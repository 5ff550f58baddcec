package terminal

import "testing"

func FuzzControlMessage(f *testing.F) {
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) >= 20 { // long enough for descriptors: these would be the test's own
			return
		}
		if master, err := masterOf(data); err == nil {
			t.Fatalf("a terminal from %q: %v", data, master)
		}
	})
}
