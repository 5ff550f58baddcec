package tests

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// reply is the answer to an API request.
type reply struct {
	status int
	body   string
	err    error
}

// call sends a request to the API. A body that isn't empty is JSON.
func (r *rig) call(method, path, body string) reply {
	request, err := http.NewRequest(method, "http://engine"+path, strings.NewReader(body))
	if err != nil {
		return reply{err: err}
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := r.client.Do(request)
	if err != nil {
		return reply{err: err}
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	return reply{response.StatusCode, string(data), err}
}

// refused checks that a request fails with this status and with this text in its message.
func (r *rig) refused(t testing.TB, status int, text, method, path, body string) {
	t.Helper()
	a := r.call(method, path, body)
	var e struct{ Message string }
	if a.err != nil || a.status != status || json.Unmarshal([]byte(a.body), &e) != nil ||
		!strings.Contains(e.Message, text) {
		t.Errorf("%s %s %s: %d %s %v, want %d and %q", method, path, body, a.status, a.body, a.err, status, text)
	}
}
