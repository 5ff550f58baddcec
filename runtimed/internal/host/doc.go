// Package host tells what this host allows its containers: capabilities, system call filters, controllers of control
// groups.
package host
