package tests

import (
	"net/http"
	"testing"
)

// TestStopAtOnce stops and kills containers in the moment in which their start was answered. Their program has a handler
// for SIGTERM, which it installs first; the signal must not be there before the handler.
func TestStopAtOnce(t *testing.T) {
	t.Parallel()
	r := ownRig(t)
	for range 4 {
		for name, request := range map[string]string{"stop": "stop?t=60", "kill": "kill?signal=TERM"} {
			m := r.runScript(t, `trap "exit 7" TERM; sleep 1000 & wait`, nil)
			r.do(t, http.MethodPost, "/containers/"+m.id+"/"+request, nil, nil)
			var ended struct{ StatusCode int }
			r.do(t, http.MethodPost, "/containers/"+m.id+"/wait", nil, &ended)
			if ended.StatusCode != 7 {
				t.Errorf("%s at once after the start: exit code %d, want the program's 7", name, ended.StatusCode)
			}
		}
	}
}
