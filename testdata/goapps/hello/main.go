// Hello prints a line for each argument.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Println("hello")
	for _, arg := range os.Args[1:] {
		fmt.Println(arg)
	}
}
