package main

import (
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/term"
)

// onSignal calls cleanup and ends the program, as an interrupted one, if
// SIGINT or SIGTERM comes before the returned function is called.
func onSignal(cleanup func()) (done func()) {
	c := make(chan os.Signal, 1)
	stop := make(chan struct{})
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case s := <-c:
			cleanup()
			os.Exit(signalStatus(s))
		case <-stop:
		}
	}()
	return sync.OnceFunc(func() {
		signal.Stop(c)
		close(stop)
	})
}

// signalStatus is the exit code of a program that a signal has ended, as
// shells have it.
func signalStatus(s os.Signal) int {
	if n, ok := s.(syscall.Signal); ok {
		return 128 + int(n)
	}
	return exitError
}

// removeOnSignal removes a file if the program is interrupted.
func removeOnSignal(path string) (done func()) { return onSignal(func() { os.Remove(path) }) }

// restoreTerminalOnSignal gives a terminal its echo back if the program is
// interrupted.
func restoreTerminalOnSignal(fd int) (done func()) {
	state, err := term.GetState(fd)
	if err != nil {
		return func() {}
	}
	return onSignal(func() { _ = term.Restore(fd, state) })
}
