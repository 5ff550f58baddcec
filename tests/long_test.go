package tests

import "os"

// long tells that whole suites are wanted, of which one run takes a few minutes: hack/test
// --long. Else each runtime and each release of containerd still has those tests that no
// other one has in its place.
var long = os.Getenv("ENGINE_LITE_LONG") != ""

// newest leaves the newest of the containerds, unless all are wanted.
func newest(releases []containerdRelease) []containerdRelease {
	if long {
		return releases
	}
	return releases[len(releases)-1:]
}
