// Package wire is the protocol between the keeper and its clients: messages, and the packets that carry them.
//
// A connection is a unix socket of type SOCK_SEQPACKET. One JSON message is one packet. A request has at most 4 KiB, an
// answer at most 64 KiB. Descriptors travel beside them as SCM_RIGHTS, at most 4 to a packet.
//
// The requests of one connection are answered one by one, in their order. The first one is "hello" and has the
// number of the protocol; the keeper refuses another number with both numbers in the text. Only processes of the
// keeper's own user may connect (SO_PEERCRED). The keeper answers "hello" when connections that died before have
// given back what they had. A request that the keeper cannot understand gets an answer of class InvalidArgument,
// and the connection goes on.
//
//	-> {"id":1,"op":"hello","protocol":1}
//	<- {"id":1,"protocol":1,"pid":4242}
//	-> {"id":2,"op":"take","key":"c1/init","name":"stdout"}
//	<- {"id":2,"raw":true}                                     + descriptors: stream, raw file
//	-> {"id":3,"op":"exits"}                                   (from here on the connection has exits only)
//	<- {"id":3,"exits":[{"seq":1,...},...]} ...
//
// Keeper and clients are upgraded at different times. Who changes the messages changes the number too; the files of
// keeper/testdata/v1 say what protocol 1 is. What is only added doesn't change the number: a new operation or a new
// name of a stream, which an earlier keeper refuses with InvalidArgument and an earlier client never sends, and a new
// field of an answer, which an earlier client passes over.
package wire
