// SPDX-License-Identifier: Apache-2.0
/* OPEN and READ. Owner thread only.
 *
 * The reply is written from the node's mapped memory in one system call; splicing it from the memfd measured no faster,
 * since both copy page by page (docs/benchmarks.md). A reply is never short: the kernel takes a short one for the end
 * of the file and fills the rest of the page with zeros. */
#include <errno.h>
#include <sys/uio.h>

#include "front/fuse/internal.h"

void tl_fuse_op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    struct tl_fuse *f = fuse_req_userdata(req);
    f->stats.others++;
    if (f->no_open) {
        fuse_reply_err(req, ENOSYS);
        return;
    }
    fi->keep_cache = 1;
    fuse_reply_open(req, fi);
}

void tl_fuse_op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    (void)fi;
    struct tl_fuse *f = fuse_req_userdata(req);
    f->stats.reads++;
    const struct tl_inode *inode = tl_inodes_get(&f->inodes, ino);
    char path[TL_PATH_MAX];
    int rc = inode != NULL ? tl_inodes_path(&f->inodes, f->source_root, inode, NULL, 0, path, sizeof path) : -ESTALE;
    if (rc >= 0 && f->closing)
        rc = -ENOTCONN;
    if (rc >= 0 && size > TL_READ_SIZE_MAX)
        rc = -EIO; /* cannot be: the session's limits forbid it (session.c), and cutting it would look like the end */
    if (rc < 0) {
        tl_fuse_fail(f, req, rc);
        return;
    }
    uint64_t at = (uint64_t)offset;
    if (size == 0 || at >= inode->size_bytes) {
        fuse_reply_buf(req, NULL, 0);
        return;
    }
    uint64_t left = inode->size_bytes - at;
    struct tl_fuse_op op = {.kind = TL_FUSE_READ, .inode = ino, .req = req, .offset = at};
    op.size_bytes = (uint32_t)(size < left ? size : left);
    struct tl_request request = {
        .op = TL_OP_READ,
        .path = path,
        .path_len = (uint16_t)rc,
        .version = inode->version,
        .file_size_bytes = inode->size_bytes,
        .offset = at,
        .length = op.size_bytes,
    };
    tl_fuse_ask(f, &op, &request);
}

void tl_fuse_reply_read(struct tl_fuse *f, const struct tl_fuse_op *op, const struct tl_answer *answer)
{
    struct iovec iov[TL_ANSWER_REFS_MAX];
    int status = answer->status;
    uint64_t total = 0;
    for (uint32_t i = 0; status == 0 && i < answer->ref_count; i++) {
        const void *bytes = f->host.bytes(f->host.ctx, answer->refs[i].addr);
        iov[i] = (struct iovec){.iov_base = (void *)(uintptr_t)bytes, .iov_len = answer->refs[i].len};
        total += answer->refs[i].len;
    }
    if (status == 0 && total != op->size_bytes)
        status = -EIO;
    if (status == 0) {
        f->stats.read_bytes += total;
        fuse_reply_iov(op->req, iov, (int)answer->ref_count);
        return;
    }
    tl_fuse_fail(f, op->req, status);
    struct tl_inode *inode = tl_inodes_get(&f->inodes, op->inode);
    if (status == -ESTALE && inode != NULL)
        tl_fuse_drop_entry(f, inode); /* the next open of this name finds the file as it is now */
}
