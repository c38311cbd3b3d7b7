// SPDX-License-Identifier: Apache-2.0

// Rows of the acceptance table by a Go program: static, with system calls of its own, many threads, and a runtime that sends itself
// signals. gorows open|stat|readdir|chdir|exec|par TREE
package main

import (
    "fmt"
    "os"
    "os/exec"
    "path/filepath"
    "sync"
    "sync/atomic"
)

func report(what string, err error) {
    if err != nil {
        if e, ok := err.(*os.PathError); ok {
            err = e.Err
        }
        fmt.Println(what, err)
        return
    }
    fmt.Println(what, "ok")
}

func show(path string) {
    content, err := os.ReadFile(path)
    report("read", err)
    fmt.Print(string(content))
}

// Reads each of the small files once in each of many goroutines.
func inParallel(tree string) {
    var wait sync.WaitGroup
    var bytes, failed int64
    for i := 0; i < 16; i++ {
        wait.Add(1)
        go func() {
            defer wait.Done()
            for k := 0; k < 60; k++ {
                content, err := os.ReadFile(fmt.Sprintf("%s/many/f%d", tree, k))
                if err != nil {
                    atomic.AddInt64(&failed, 1)
                }
                atomic.AddInt64(&bytes, int64(len(content)))
            }
        }()
    }
    wait.Wait()
    fmt.Println("parallel", bytes, failed)
}

func main() {
    if len(os.Args) != 3 {
        os.Exit(2)
    }
    tree := os.Args[2]
    switch os.Args[1] {
    case "open":
        show(tree + "/abslink")
        _, err := os.Open(tree + "/none")
        report("none", err)
    case "stat":
        info, err := os.Stat(tree + "/file")
        report("stat", err)
        if err == nil {
            fmt.Println(info.Size(), info.Mode(), info.ModTime().UnixNano())
        }
    case "readdir":
        err := filepath.Walk(tree, func(path string, info os.FileInfo, err error) error {
            fmt.Println(path, info.Mode())
            return err
        })
        report("walk", err)
    case "chdir":
        report("chdir", os.Chdir(tree+"/dir"))
        where, err := os.Getwd()
        fmt.Println(where, err)
        show("../file")
    case "exec":
        command := exec.Command(tree+"/bin/rows", "say", "from Go")
        command.Env = []string{}
        out, err := command.CombinedOutput()
        fmt.Print(string(out))
        report("exec", err)
    case "par":
        inParallel(tree)
    }
}
