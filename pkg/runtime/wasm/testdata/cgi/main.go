// Command cgi is a command that runs once a request: it says what it was given.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	body, _ := io.ReadAll(os.Stdin)
	switch os.Getenv("PATH_INFO") {
	case "/plain":
		fmt.Print("no headers: just text\nof two lines")
	case "/status":
		fmt.Print("Status: 404 Not Here\r\nContent-Type: text/html\r\nX-One: 1\r\nX-One: 2\r\nContent-Length: 99999\r\nConnection: close\r\n\r\n<p>")
	case "/nothing":
		fmt.Print("Status: 204\r\nX-One: 1\r\n\r\nno body can be here")
	case "/exit":
		os.Exit(3)
	case "/zero":
		fmt.Print("ok")
		os.Exit(0)
	case "/long":
		for {
			fmt.Print(strings.Repeat("x", 1000))
		}
	case "/panic":
		panic("crashed")
	default:
		fmt.Print("Content-Type: text/x-env\n\n")
		for _, kv := range os.Environ() {
			fmt.Println(kv)
		}
		fmt.Printf("body %q\n", body)
	}
}
