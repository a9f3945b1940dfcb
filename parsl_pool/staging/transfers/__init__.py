"""Files over the network, one module a protocol: `fetch(url, target, options)` and `send(source, url, options)`.

    web      http, https            ftp    ftp, ftps            sftp   sftp (SSH)
    rsync    rsync, host:path       s3     s3
    by_scheme  whichever it is      file_servers  what ftp and sftp have in common

They know nothing of tasks or of the staging interface, and run in a worker or in the client. Whatever goes wrong ends
as a `TransferFailed`; under the final name there is the whole file or none.
"""
