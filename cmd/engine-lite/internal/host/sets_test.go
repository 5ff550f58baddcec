package host

import (
	"testing"

	"github.com/containerd/errdefs"
)

func TestCheckSets(t *testing.T) {
	for list, want := range map[string]string{
		"": "", "0": "", "0-0": "",
		"9999": "Invalid value 9999 for cpuset cpus: invalid format: 9999",
		"x":    "Invalid value x for cpuset cpus: invalid format: x",
		"1-0":  "Invalid value 1-0 for cpuset cpus: invalid format: 1-0",
		"0,":   "Invalid value 0, for cpuset cpus: invalid format: 0,",
	} {
		err := CheckCPUSet(list)
		if want == "" && err != nil || want != "" && (err == nil || err.Error() != want || !errdefs.IsInvalidArgument(err)) {
			t.Errorf("%q: %v, want %q", list, err, want)
		}
	}
	if err := CheckMemorySet("8191"); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a node that is not there: %v", err)
	}
}

func FuzzParseSet(f *testing.F) {
	f.Add("0-2,7")
	f.Add("-")
	f.Fuzz(func(t *testing.T, list string) {
		set, ok := parseSet(list)
		if ok && len(set) == 0 || len(set) > maxInSet {
			t.Errorf("%q has %d members", list, len(set))
		}
	})
}
