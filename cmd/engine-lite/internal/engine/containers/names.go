package containers

import "math/rand/v2"

// The words of the names that containers get where the user gives none.
var (
	nameQualities = []string{
		"amber", "brisk", "calm", "clever", "cosy", "daring", "eager", "early", "fair", "gentle", "golden", "happy", "hardy", "keen",
		"kind", "lively", "lucid", "mellow", "merry", "modest", "nimble", "noble", "patient", "plucky", "proud", "quick", "quiet", "rapid",
		"ready", "serene", "silent", "steady", "sunny", "swift", "tidy", "tranquil", "upbeat", "vivid", "warm", "wise", "witty", "young",
	}
	nameThings = []string{
		"acorn", "anchor", "aspen", "badger", "basalt", "beacon", "birch", "bridge", "brook", "cedar", "clover", "comet", "coral", "crane",
		"delta", "ember", "falcon", "fern", "fjord", "forge", "glacier", "harbor", "heron", "island", "juniper", "kestrel", "lantern",
		"larch", "maple", "meadow", "otter", "pebble", "prairie", "quartz", "raven", "reef", "river", "sparrow", "summit", "tide",
		"thistle", "valley", "willow",
	}
)

// RandomName makes a name; the number keeps them apart on busy hosts.
func RandomName() string {
	return nameQualities[rand.IntN(len(nameQualities))] + "_" + nameThings[rand.IntN(len(nameThings))] + "_" + string(nameDigits())
}

func nameDigits() []byte {
	digits := make([]byte, 4)
	for i := range digits {
		digits[i] = "0123456789"[rand.IntN(10)]
	}
	return digits
}
