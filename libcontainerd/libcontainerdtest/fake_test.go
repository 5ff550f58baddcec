package libcontainerdtest_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/engine-lite/engine-lite/libcontainerd/libcontainerdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContractOnFake(t *testing.T) {
	libcontainerdtest.RunVirtual(t, libcontainerdtest.NewHarness)
}
