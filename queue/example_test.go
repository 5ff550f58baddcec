package queue_test

import (
	"context"
	"fmt"
	"log"

	"github.com/engine-lite/engine-lite/queue"
)

func ExampleQueue() {
	type event struct{ container, name string }
	var handled []event // one key: one handler at a time
	q := queue.New(func(container, name string) {
		if name == "oom" {
			panic("nobody expects this")
		}
		handled = append(handled, event{container, name})
	}, func(container, name string, recovered any, _ []byte) {
		fmt.Printf("%s of %s: %v\n", name, container, recovered)
	})
	for _, name := range []string{"create", "start", "oom", "exit"} {
		if err := q.Append("c1", name); err != nil {
			log.Fatal(err)
		}
	}
	if err := q.Close(context.Background()); err != nil {
		log.Fatal(err)
	}
	fmt.Println(handled)
	fmt.Println(q.Append("c1", "delete"))
	// Output:
	// oom of c1: nobody expects this
	// [{c1 create} {c1 start} {c1 exit}]
	// cannot queue for key c1: queue is closed: failed precondition
}
