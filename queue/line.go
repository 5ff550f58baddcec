package queue

// A node is an item in the inbox or in a line, or a barrier, which DrainKey puts into a line. Nodes are recycled.
type node[K comparable, V any] struct {
	next  *node[K, V]
	epoch *epoch
	hash  uint64
	key   K
	item  V
}

// A chain is a list of nodes, the oldest first. The zero chain is empty.
type chain[K comparable, V any] struct {
	head, tail *node[K, V]
}

// shift removes and returns the oldest node of a chain that has one.
func (c *chain[K, V]) shift() *node[K, V] {
	n := c.head
	c.head = n.next
	n.next = nil
	if c.head == nil {
		c.tail = nil // it would keep the free nodes behind n alive
	}
	return n
}

// push puts n, whose next is nil, behind the others.
func (c *chain[K, V]) push(n *node[K, V]) {
	if c.head == nil {
		c.head = n
	} else {
		c.tail.next = n
	}
	c.tail = n
}

// prepend puts all nodes of front before those of c.
func (c *chain[K, V]) prepend(front chain[K, V]) {
	front.tail.next = c.head
	if c.head == nil {
		c.tail = front.tail
	}
	c.head = front.head
}

// A line is a key that has items. It stands in the ready list, or a worker has it: exactly one of the two.
type line[K comparable, V any] struct {
	chain[K, V] // what no worker has taken yet
	key         K
	hash        uint64
	beside      *line[K, V] // in the table's bucket
	next        *line[K, V] // in the ready list, or among the free lines
}

// readyList is a first-in first-out list of lines that have items and no worker.
type readyList[K comparable, V any] struct {
	head, tail *line[K, V]
}

func (r *readyList[K, V]) push(l *line[K, V]) {
	if r.head == nil {
		r.head = l
	} else {
		r.tail.next = l
	}
	r.tail = l
}

// pop returns nil if the list is empty.
func (r *readyList[K, V]) pop() *line[K, V] {
	l := r.head
	if l != nil {
		r.head = l.next
		l.next = nil
	}
	if r.head == nil {
		r.tail = nil // it would keep the free lines behind l alive
	}
	return l
}
