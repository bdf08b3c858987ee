from calservice.cli import main

main()
