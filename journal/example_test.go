package journal_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/engine-lite/engine-lite/journal"
)

// A container's record and the event of its end are committed together. A subscriber reads on from its last position.
func Example() {
	dir, err := os.MkdirTemp("", "journal")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	j, err := journal.Open(filepath.Join(dir, "journal.db"), journal.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = j.Close() }()

	err = j.Commit(context.Background(), func(tx *journal.Tx) error {
		tx.Put("container", "4f0b", []byte(`{"status":"exited","exitCode":7}`))
		tx.Append(journal.Event{
			Type: "container", Action: "die", ID: "4f0b",
			Attributes: map[string]string{"exitCode": "7"},
		})
		return nil
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	cursor := j.Cursor(0)
	event, err := cursor.Next(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(event.Seq, event.Action, event.Attributes["exitCode"])
	// Output: 1 die 7
}
