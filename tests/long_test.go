package tests

import "os"

// long is true for hack/test --long: then whole suites run, some of which take minutes.
// Other runs still have all tests that no other test replaces.
var long = os.Getenv("ENGINE_LITE_LONG") != ""

// newest returns only the newest containerd, or all of them in long runs.
func newest(releases []containerdRelease) []containerdRelease {
	if long {
		return releases
	}
	return releases[len(releases)-1:]
}
