package inspect

import (
	"testing"
	"time"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

func TestStatusText(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	for want, r := range map[string]record.Record{
		"Up 5 minutes":                        {Status: record.StatusRunning, StartedAt: now.Add(-5 * time.Minute)},
		"Up 2 hours (Paused)":                 {Status: record.StatusPaused, StartedAt: now.Add(-2 * time.Hour)},
		"Exited (7) 3 days ago":               {Status: record.StatusExited, ExitCode: 7, FinishedAt: now.Add(-72 * time.Hour)},
		"Exited (255) Less than a second ago": {Status: record.StatusExited, ExitUnknown: "why", FinishedAt: now},
		"Created":                             {Status: record.StatusCreated},
		"Removal In Progress":                 {Status: record.StatusRemoving},
	} {
		if got := StatusText(&r, now); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}
