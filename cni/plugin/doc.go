// Package plugin is the logic of a CNI plugin executable: it reads one command
// from its environment and standard input, asks the agent over a unix socket,
// and prints the result or the error the specification wants (CNI spec 1.1,
// and 0.4.0 and 1.0.0 for older runtimes). It keeps no state and configures
// nothing itself.
//
// The whole process is the struct [Plugin], so that a main is one line:
//
//	func main() {
//		os.Exit(plugin.Plugin{Getenv: os.Getenv, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}.Main(context.Background()))
//	}
//
// and a test passes a map and buffers. The network configuration is
//
//	{"cniVersion": "1.1.0", "name": "k8s", "type": "tierloom", "socket": "/run/tierloom/cni.sock"}
//
// # Concurrency
//
// A Plugin is a value; Main may run once for each Stdin.
//
// # Errors
//
// Every failure is printed to Stdout as the error object of the specification,
// section 5, and gives exit code 1. ADD, CHECK, DEL and GC without an
// answering agent give code 11, so that the runtime retries; STATUS gives 50.
// DEL succeeds when the agent says that it does not know the container, and
// does not need the container's namespace.
package plugin
