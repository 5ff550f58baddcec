package libcontainerd

import (
	"reflect"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

// TestUnimplementedDaemon calls every method of the interface.
func TestUnimplementedDaemon(t *testing.T) {
	daemon := reflect.ValueOf(UnimplementedDaemon{})
	methods := reflect.TypeFor[Daemon]()
	for i := range methods.NumMethod() {
		name := methods.Method(i).Name
		method := daemon.MethodByName(name)
		var args []reflect.Value
		for j := range method.Type().NumIn() {
			args = append(args, reflect.Zero(method.Type().In(j)))
		}
		results := method.Call(args)
		err, _ := results[len(results)-1].Interface().(error)
		if !errdefs.IsNotImplemented(err) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
